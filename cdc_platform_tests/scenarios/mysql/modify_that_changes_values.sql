-- MODIFY to a shorter type cuts values, as sql_mode allows it, and the log has none of them.
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada Lovelace'), (2, 'Bob');
-- run
set session sql_mode = '';
alter table people modify name varchar(3);
-- run
-- expect rows
--   id | name
--   1  | Ada
--   2  | Bob
