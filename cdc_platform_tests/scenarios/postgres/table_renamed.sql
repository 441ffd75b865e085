-- The table has another name: a stop that says so. When it has its old name again, all goes on.
-- table: people
-- table: others
create table people (id int primary key, name text);
create table others (id int primary key);
insert into people values (1, 'Ada');
-- run
alter table people rename to persons;
insert into persons values (2, 'Bob');
insert into others values (1);
-- run
-- expect stop 4 people: there is no table public.people in database '...'; it was dropped or renamed while it was followed: what was captured stays as it is
alter table persons rename to people;
-- run
