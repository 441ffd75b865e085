-- Many runs without a change, checkpoints and new log files between them: a healthy pipeline stays one.
-- Elsewhere it is told to wipe its destination (olake#1084).
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
select pg_switch_wal();
checkpoint;
-- run
-- expect events
select pg_switch_wal();
checkpoint;
-- run
-- expect events
-- run
-- expect events
update people set name = 'Adele';
-- run
-- expect events
--   UPDATE  {"id": 1, "name": null}  {"id": 1, "name": "Adele"}
