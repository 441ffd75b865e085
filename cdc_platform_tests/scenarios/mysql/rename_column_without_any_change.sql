-- A column is renamed and nothing else happens: the destination has the new name all the same.
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada');
-- run
alter table people rename column name to full_name;
-- run
-- expect columns: id, full_name
