-- `change_type: ignore`: the destination keeps its type while values fit it; one that does not is a stop, not a cut value.
-- config: schema_changes: {change_type: ignore}
-- table: numbers
create table numbers (id int primary key, value int);
insert into numbers values (1, 5);
-- run
alter table numbers alter column value type bigint;
insert into numbers values (2, 6);
-- run
insert into numbers values (3, 3000000000);
-- run
-- expect stop 4: column 'value' has a value that int32 cannot hold, in a change between
-- expect nothing written
