-- Many changes of shape between two runs, each with rows of its own shape.
-- table: people
create table people (id int primary key, a text, b text, c int);
insert into people values (1, 'a1', 'b1', 1), (2, 'a2', 'b2', 2);
-- run
insert into people values (3, 'a3', 'b3', 3);
alter table people add column d text default 'd';
update people set d = 'd1' where id = 1;
alter table people rename column a to b_old;
alter table people drop column b;
alter table people rename column b_old to b;
insert into people (id, b, c, d) values (4, 'was a', 4, null);
alter table people alter column c type bigint;
update people set c = 3000000000 where id = 2;
alter table people add column a text;
insert into people (id, a) values (5, 'new a');
-- run
-- expect columns upsert: id, b, c, d, a
