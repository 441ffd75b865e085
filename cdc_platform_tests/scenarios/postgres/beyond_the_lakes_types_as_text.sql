-- The way out of the stop: these columns as the server's own text, in snapshot and stream alike.
-- read: as_text: [until, seen, amount]
-- table: validity
create table validity (id int primary key, until date, seen timestamptz, amount numeric(10, 2));
insert into validity values (1, 'infinity', '-infinity', 'NaN'), (2, '4713-01-01 BC', '2026-01-01 00:00:00+01', 1.5);
-- run
insert into validity values (3, '-infinity', '294276-12-31 23:59:59.999999+00', 'NaN'), (4, null, null, null);
update validity set until = '5874897-12-31' where id = 2;
-- run
