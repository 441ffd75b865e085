-- A table comes to be followed while a transaction on it is open: its first snapshot waits for the end of that, and
-- neither loses its rows nor has them twice. Elsewhere snapshot and stream are merged wrongly (flink-cdc#784, #2794).
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
-- session b after 3 s: commit;
-- run
-- expect rows people
--   id | name
--   1  | Adele
--   2  | Bobby
--   3  | Cid
-- session a: update people set name = 'Sid' where id = 3;
-- run
-- expect events people
--   UPDATE  {"id": 3, "name": null}  {"id": 3, "name": "Sid"}
