-- The shape changes when changes are captured and not yet applied, and again before they are.
-- table: people
create table people (id int primary key, name text, age int);
insert into people values (1, 'Ada', 36);
-- run
insert into people values (2, 'Bob', 40);
-- capture
alter table people rename column name to full_name;
insert into people values (3, 'Cid', 20);
-- capture
alter table people add column city text default 'Rome';
alter table people drop column age;
update people set full_name = 'Adele' where id = 1;
-- capture
alter table people alter column city set default 'Oslo';
insert into people values (4, 'Dan');
-- run
-- expect rows
--   id | full_name | city
--   1  | Adele     | Rome
--   2  | Bob       | Rome
--   3  | Cid       | Rome
--   4  | Dan       | Oslo
