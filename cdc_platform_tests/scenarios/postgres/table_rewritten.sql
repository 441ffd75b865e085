-- VACUUM FULL, CLUSTER and REINDEX rewrite files and change no row.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
vacuum full people;
cluster people using people_pkey;
reindex table people;
-- run
-- expect events
update people set name = 'Adele' where id = 1;
-- run
