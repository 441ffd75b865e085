-- A column is renamed: the same column, with its values, under its new name.
-- table: people
create table people (id int primary key, name text, age int);
insert into people values (1, 'Ada', 36), (2, 'Bob', 40);
-- run
insert into people values (3, 'Cid', 20);
alter table people rename column name to full_name;
insert into people values (4, 'Dan', 30);
update people set age = 37 where id = 1;
-- run
-- expect columns: id, full_name, age
-- expect rows
--   id | full_name | age
--   1  | Ada       | 37
--   2  | Bob       | 40
--   3  | Cid       | 20
--   4  | Dan       | 30
