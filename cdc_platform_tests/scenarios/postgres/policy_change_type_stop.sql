-- `change_type: stop`: not even a type that grows without loss.
-- config: schema_changes: {change_type: stop}
-- table: numbers
create table numbers (id int primary key, value int);
insert into numbers values (1, 5);
-- run
alter table numbers alter column value type bigint;
insert into numbers values (2, 6);
-- run
-- expect stop 4: value
-- expect nothing written
