-- A table with a past: dropped columns, renamed ones, when it is first followed.
-- table: people
create table people (gone text, id int primary key, name text);
alter table people drop column gone;
alter table people rename column name to full_name;
alter table people add column age int default 3;
insert into people values (1, 'Ada');
-- run
insert into people values (2, 'Bob', 4);
alter table people drop column age;
insert into people values (3, 'Cid');
-- run
