-- TIME goes beyond 24 hours and below zero, with fractions.
-- table: spans
create table spans (id int primary key, span time, fine time(6));
insert into spans values (1, '838:59:59', '-838:59:59.000000'), (2, '-00:00:01', '-00:00:00.000001'), (3, null, '0:0:0');
-- run
insert into spans select id + 10, fine, fine from spans;
update spans set fine = '100:00:00.5' where id = 1;
-- run
