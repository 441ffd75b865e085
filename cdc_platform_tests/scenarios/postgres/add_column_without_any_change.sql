-- A column is added and nothing else happens: the destination has it all the same.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada');
-- run
alter table people add column age int;
-- run
-- expect columns: id, name, age
