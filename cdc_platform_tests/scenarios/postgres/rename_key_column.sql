-- A column of the key is renamed: rows are found by it as before.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada'), (2, 'Bob');
-- run
alter table people rename column id to person_id;
update people set name = 'Adele' where person_id = 1;
delete from people where person_id = 2;
-- run
-- expect rows
--   person_id | name
--   1         | Adele
