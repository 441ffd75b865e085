-- One statement moves the keys of many rows, each onto its neighbour's old one.
-- table: seats
create table seats (seat int primary key, guest varchar(100));
insert into seats values (1, 'Ada'), (2, 'Bob'), (3, 'Cid');
-- run
update seats set seat = seat + 1 order by seat desc;
-- run
-- expect rows
--   seat | guest
--   2    | Ada
--   3    | Bob
--   4    | Cid
