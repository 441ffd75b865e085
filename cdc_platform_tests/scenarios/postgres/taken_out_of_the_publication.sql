-- Somebody takes the table out of the publication: its changes are not in the log any more. A stop, no silence.
-- table: people
-- table: others
create table people (id int primary key, name text);
create table others (id int primary key);
insert into people values (1, 'Ada');
-- run
do $$ begin
  execute format('alter publication %I drop table people', (select pubname from pg_publication));
end $$;
insert into people values (2, 'lost');
insert into others values (1);
-- run
-- expect stop 4 people: public.people: since its change log was begun the table was dropped and made again, or taken out of the publication (then table ... held by nothing; publication ...): changes in between may be lost; run: cdc resync
-- expect nothing written people
