-- A column is dropped and another one of its name is made: a new column, without the old one's values.
-- table: people
create table people (id int primary key, name text, code text);
insert into people values (1, 'Ada', 'old'), (2, 'Bob', 'old');
-- run
alter table people drop column code;
alter table people add column code text;
update people set code = 'new' where id = 1;
-- run
-- expect rows
--   id | name | code
--   1  | Ada  | new
--   2  | Bob  | null
