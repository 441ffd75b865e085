-- A transaction is open while a table's snapshot is taken: its rows come after its commit, once, and none is lost.
-- Elsewhere snapshot and stream are merged wrongly (flink-cdc#784, #2794).
-- table: others
create table others (id int primary key);
create table people (id int primary key, name text);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
-- session b: begin;
insert into people values (3, 'Cid');
update people set name = 'Adele' where id = 1;
-- session a: update people set name = 'Bobby' where id = 2;
-- table: people
-- run
-- expect events people
--   INSERT  null  {"id": 1, "name": "Ada"}
--   INSERT  null  {"id": 2, "name": "Bobby"}
-- session b: commit;
-- run
-- expect events people
--   INSERT  null                     {"id": 3, "name": "Cid"}
--   UPDATE  {"id": 1, "name": null}  {"id": 1, "name": "Adele"}
