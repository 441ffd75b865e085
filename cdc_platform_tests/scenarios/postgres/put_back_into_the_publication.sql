-- Out of the publication, changed, and put back, all between two runs: changes are lost, and it is noticed.
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
do $$ begin
  execute format('alter publication %I add table people', (select pubname from pg_publication));
end $$;
insert into people values (3, 'Cid');
insert into others values (1);
-- run
-- expect stop 4 people: public.people: since its change log was begun the table was dropped and made again, or taken out of the publication (then table ...; now table ...; held by table ...): changes in between may be lost; run: cdc resync
-- expect nothing written people
