-- A column is renamed, by RENAME COLUMN and by CHANGE: the same column, with its values, under its new name.
-- table: people
create table people (id int primary key, name varchar(100), age int);
insert into people values (1, 'Ada', 36), (2, 'Bob', 40);
-- run
insert into people values (3, 'Cid', 20);
alter table people rename column name to full_name;
insert into people values (4, 'Dan', 30);
alter table people change age years int;
update people set years = 37 where id = 1;
-- run
-- expect columns: id, full_name, years
-- expect rows
--   id | full_name | years
--   1  | Ada       | 37
--   2  | Bob       | 40
--   3  | Cid       | 20
--   4  | Dan       | 30
