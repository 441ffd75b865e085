-- Replica identity USING INDEX: rows are told apart by that unique index, not by the primary key.
-- table: people
create table people (id int primary key, email text not null, name text);
create unique index people_email on people (email);
alter table people replica identity using index people_email;
insert into people values (1, 'ada@example.org', 'Ada'), (2, 'bob@example.org', 'Bob');
-- run
update people set name = 'Adele' where id = 1;
update people set id = 7 where id = 2;
update people set email = 'countess@example.org' where id = 1;
delete from people where id = 7;
-- run
-- expect rows
--   email                | id | name
--   countess@example.org | 1  | Adele
