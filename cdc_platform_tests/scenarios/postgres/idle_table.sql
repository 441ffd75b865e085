-- A table without changes beside a busy one: the slot moves on, and the idle table is no worse for it.
-- Elsewhere the slot never advances and the log fills the disk (risingwave#16697, supabase/etl#429).
-- table: idle
create table idle (id int primary key, name text);
create table busy (id int primary key, filler text);
alter table busy alter column filler set storage plain;
insert into idle values (1, 'Ada');
-- run
insert into busy select n, repeat('x', 4000) from generate_series(1, 20000) n;
-- run
-- expect events
do $$ begin
  if exists (
    select from pg_replication_slots
    where database = current_database() and pg_current_wal_lsn() - confirmed_flush_lsn > 64 * 1024 * 1024
  ) then raise exception 'the slot did not move'; end if;
end $$;
update idle set name = 'Adele';
-- run
-- expect events
--   UPDATE  {"id": 1, "name": null}  {"id": 1, "name": "Adele"}
