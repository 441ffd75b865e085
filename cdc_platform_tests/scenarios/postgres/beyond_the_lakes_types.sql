-- What the lake's types cannot hold (infinity, years before 1, NaN as a decimal) is a stop, not a null; the other table
-- goes on.
-- table: validity
-- table: others
create table validity (id int primary key, until date, amount numeric(10, 2));
create table others (id int primary key);
insert into validity values (1, '2026-01-01', 1);
-- run
insert into validity values (2, 'infinity', 2);
insert into others values (1);
-- run
-- expect stop 4 validity: public.validity: column 'until' of the change at ... is no finite date; put 'until' into source.tables[].as_text and begin its pipeline anew
-- expect nothing written validity
