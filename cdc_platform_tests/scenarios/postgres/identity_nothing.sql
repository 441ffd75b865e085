-- Replica identity NOTHING: the log does not say which row changed. A clear stop before anything is made.
-- table: people
-- table: others
create table people (id int primary key, name text);
alter table people replica identity nothing;
create table others (id int primary key, name text);
insert into people values (1, 'Ada');
insert into others values (1, 'Bob');
-- run
-- expect stop 4 people: public.people has no replica identity, so updates and deletes cannot be followed; run: alter table "public"."people" replica identity full
-- expect nothing written people
update people set name = 'Eve';
