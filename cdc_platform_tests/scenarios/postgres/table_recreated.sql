-- The table is dropped and made again: not the table that was followed. Changes may be lost, so it stops.
-- table: people
-- table: others
create table people (id int primary key, name text);
create table others (id int primary key);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
drop table people;
create table people (id int primary key, name text);
insert into people values (1, 'Eve');
insert into others values (1);
-- run
-- expect stop 4 people: public.people: since its change log was begun the table was dropped and made again, or taken out of the publication (then table ... held by nothing; publication ...): changes in between may be lost; run: cdc resync
-- expect nothing written people
