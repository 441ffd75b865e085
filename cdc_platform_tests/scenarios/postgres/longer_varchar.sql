-- varchar(n) to more, to fewer, to none: the destination's column is text and stays as it is.
-- table: people
create table people (id int primary key, name varchar(100));
insert into people values (1, 'Ada');
-- run
alter table people alter column name type varchar(10);
insert into people values (2, 'Bob');
-- run
alter table people alter column name type varchar;
insert into people values (3, repeat('x', 200));
-- run
