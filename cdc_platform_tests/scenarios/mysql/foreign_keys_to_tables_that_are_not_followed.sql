-- The parents need not be followed, nor what is between them and the table that is.
-- table: children
create table grandparents (id int primary key);
create table parents (
  id int primary key, above int, foreign key (above) references grandparents (id) on delete cascade
);
create table children (id int primary key, parent int, foreign key (parent) references parents (id) on delete cascade);
insert into grandparents values (1), (2), (3);
insert into parents values (1, 1), (2, 2), (3, 3);
insert into children values (1, 1), (2, 2), (3, 3);
-- run
delete from grandparents where id = 1;
-- run
-- expect rows children
--   id | parent
--   2  | 2
--   3  | 3
delete from parents where id = 3;
-- run
-- expect rows children
--   id | parent
--   2  | 2
