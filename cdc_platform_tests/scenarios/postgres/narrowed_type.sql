-- bigint to int: a destination does not take values back. A clear stop, and nothing is written.
-- table: numbers
create table numbers (id int primary key, value bigint);
insert into numbers values (1, 5);
-- run
alter table numbers alter column value type int;
insert into numbers values (2, 6);
-- run
-- expect stop 4: public.numbers: column 'value' changed from bigint to integer at ...: that narrows it; to keep int64 at the destination
-- expect nothing written
