-- The file that reading would go on in is purged. Elsewhere reading resumes at the head and deleted rows live on
-- (flink-cdc#1947, airbyte#6425, spiceai#13501).
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
delete from people where id = 2;
flush binary logs;
flush binary logs;
-- Whoever has read the files lets go of them first.
do sleep(2);
purge binary logs before now() + interval 1 day;
insert into people values (3, 'Cid');
-- run
-- expect stop 4: no longer has binlog file ...: its oldest is ...; run: cdc resync, and raise binlog_expire_logs_seconds
-- expect nothing written
