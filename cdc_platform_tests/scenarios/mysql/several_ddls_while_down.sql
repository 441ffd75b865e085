-- Many changes of shape between two runs, each with rows of its own shape.
-- table: people
create table people (id int primary key, a varchar(10), b varchar(10), c int);
insert into people values (1, 'a1', 'b1', 1), (2, 'a2', 'b2', 2);
-- run
insert into people values (3, 'a3', 'b3', 3);
alter table people add column d varchar(10) default 'd' after id;
update people set d = 'd1' where id = 1;
alter table people drop column b, rename column a to b;
insert into people (id, b, c, d) values (4, 'was a', 4, null);
alter table people modify c bigint first;
update people set c = 3000000000 where id = 2;
alter table people add column a varchar(10);
insert into people (id, a) values (5, 'new a');
-- run
