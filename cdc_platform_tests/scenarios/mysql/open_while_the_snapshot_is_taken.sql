-- A transaction is open while a table's snapshot is taken: its rows come after its commit, once, and none is lost.
-- Elsewhere snapshot and stream are merged wrongly (flink-cdc#784, #2794).
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada'), (2, 'Bob');
-- session b: begin;
insert into people values (3, 'Cid');
update people set name = 'Adele' where id = 1;
-- session a: update people set name = 'Bobby' where id = 2;
-- run
-- expect events people
--   INSERT  null  {"id": 1, "name": "Ada"}
--   INSERT  null  {"id": 2, "name": "Bobby"}
-- session b: commit;
-- run
-- expect events people
--   INSERT  null                      {"id": 3, "name": "Cid"}
--   UPDATE  {"id": 1, "name": "Ada"}  {"id": 1, "name": "Adele"}
