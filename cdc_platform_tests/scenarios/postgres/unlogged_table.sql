-- An unlogged table writes nothing to the log: a stop, not an empty table.
-- table: scratch
-- table: people
create unlogged table scratch (id int primary key);
create table people (id int primary key);
insert into scratch values (1);
insert into people values (1);
-- run
-- expect stop 4 scratch: public.scratch is temporary or unlogged, so not in the log; run: alter table "public"."scratch" set logged
-- expect nothing written scratch
