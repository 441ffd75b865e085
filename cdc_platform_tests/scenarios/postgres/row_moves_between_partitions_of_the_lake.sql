-- A column that the destination is partitioned by changes: the row goes from its old partition and is in the new one.
-- Elsewhere a delete carries the new row's values and finds nothing (debezium-server-iceberg#403).
-- config: partition_by: country
-- table: people
create table people (id int primary key, name text, country text);
insert into people values (1, 'Ada', 'UK'), (2, 'Bob', 'USA'), (3, 'Cid', null);
-- run
update people set country = 'France' where id = 1;
update people set country = 'UK' where id = 3;
-- run
update people set country = 'UK' where id = 1;
update people set country = null where id = 2;
delete from people where id = 3;
-- run
-- expect rows
--   id | country
--   1  | UK
--   2  | null
