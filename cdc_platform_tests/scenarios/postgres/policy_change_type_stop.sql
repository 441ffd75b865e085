-- `change_type: stop`: not even a type that grows without loss.
-- config: schema_changes: {change_type: stop}
-- table: numbers
create table numbers (id int primary key, value int);
insert into numbers values (1, 5);
-- run
alter table numbers alter column value type bigint;
insert into numbers values (2, 6);
-- run
-- expect stop 4: public.numbers: column 'value' changed from integer to bigint at ...: the pipeline's schema_changes.change_type is 'stop'
-- expect nothing written
