-- A transaction is open while the first run takes its snapshot: its rows come with a later run, once.
-- Elsewhere snapshot and stream are merged wrongly and lose rows (flink-cdc#784, #2794).
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
create table anything (id int primary key);
-- session b: begin;
select txid_current();
-- session a: insert into people values (2, 'Bob');
-- session b: commit;
-- run
-- expect events
--   INSERT  null  {"id": 1, "name": "Ada"}
--   INSERT  null  {"id": 2, "name": "Bob"}
insert into people values (3, 'Cid');
-- run
-- expect events
--   INSERT  null  {"id": 3, "name": "Cid"}
