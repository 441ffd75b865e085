-- A new table takes the name of the one that was followed, as deployments without downtime do.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
begin;
create table people_new (id int primary key, name text);
insert into people_new select id, upper(name) from people;
alter table people rename to people_old;
alter table people_new rename to people;
commit;
-- run
-- expect stop 4: public.people: since its change log was begun the table was dropped and made again, or taken out of the publication (then table ... held by nothing; publication ...): changes in between may be lost; run: cdc resync
-- expect nothing written
