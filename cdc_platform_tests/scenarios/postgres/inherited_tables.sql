-- A parent's own rows are its rows; the children's are not, although a plain SELECT shows them.
-- table: only_parents
create table parents (id int primary key, name text);
create table children (age int) inherits (parents);
create view seen as select * from parents;
create table only_parents (id int primary key, name text);
insert into children values (1, 'Ada', 5);
insert into only_parents select id, name from only parents;
insert into only_parents values (2, 'Bob');
-- run
update parents set name = 'Eve';
update only_parents set name = 'Bobby';
-- run
