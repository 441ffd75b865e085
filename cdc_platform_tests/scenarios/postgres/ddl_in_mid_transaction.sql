-- The shape changes in the middle of a transaction: each row is read by the shape that it was written with.
-- table: people
create table people (id int primary key, name text, age int);
insert into people values (1, 'Ada', 36);
-- run
begin;
insert into people values (2, 'Bob', 40);
alter table people add column city text;
insert into people values (3, 'Cid', 20, 'Paris');
alter table people rename column name to full_name;
insert into people values (4, 'Dan', 30, 'Rome');
alter table people drop column age;
insert into people values (5, 'Eve', 'Oslo');
update people set city = 'Bern' where id in (1, 5);
commit;
insert into people values (6, 'Fay', null);
-- run
