-- A column is renamed, and a new one takes its old name.
-- table: people
create table people (id int primary key, name text);
insert into people values (1, 'Ada Lovelace');
-- run
alter table people rename column name to full_name;
alter table people add column name text;
update people set name = 'Ada' where id = 1;
insert into people (id, name, full_name) values (2, 'Bob', 'Bob Smith');
-- run
-- expect rows
--   id | full_name    | name
--   1  | Ada Lovelace | Ada
--   2  | Bob Smith    | Bob
