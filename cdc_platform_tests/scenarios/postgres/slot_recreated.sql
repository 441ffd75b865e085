-- The slot is dropped and made again under its name: what lies between is lost, elsewhere silently (debezium#3970).
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
create table slots as
select slot_name::text, plugin::text from pg_replication_slots where database = current_database();
select pg_drop_replication_slot(slot_name) from slots;
insert into people values (2, 'lost');
select pg_create_logical_replication_slot(slot_name, plugin) from slots;
insert into people values (3, 'Cid');
-- run
-- expect stop 4: replication slot 'cdc_postgres_...' has moved on to ..., past ...: it was made anew, or another reader uses it; changes since then are lost to the platform: run: cdc resync
-- expect nothing written
