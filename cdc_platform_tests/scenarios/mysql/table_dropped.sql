-- The table is gone: a stop that says so. What the lake has stays, and the other table goes on.
-- table: people
-- table: others
create table people (id int primary key, name varchar(100));
create table others (id int primary key);
insert into people values (1, 'Ada');
-- run
insert into people values (2, 'Bob');
drop table people;
insert into others values (1);
-- run
-- expect stop 4 people: there is no table ....people; it was dropped or renamed while it was followed: what was captured stays as it is
