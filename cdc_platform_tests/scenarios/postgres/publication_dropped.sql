-- The publication is gone: nothing can be read, and nothing is taken for quiet.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
do $$ begin
  execute format('drop publication %I', (select pubname from pg_publication));
end $$;
insert into people values (2, 'Bob');
-- run
-- expect stop 4: public.people: since its change log was begun the table was dropped and made again, or taken out of the publication (then table ... held by nothing; publication none): changes in between may be lost; run: cdc resync
-- expect nothing written
