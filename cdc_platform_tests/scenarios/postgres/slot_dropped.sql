-- The slot is gone: a gap, told as one, and never filled by guessing.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
select pg_drop_replication_slot(slot_name) from pg_replication_slots where database = current_database();
insert into people values (2, 'Bob');
-- run
-- expect stop 4: replication slot 'cdc_postgres_...' does not exist any more; changes since then are lost to the platform: run: cdc resync
-- expect nothing written
