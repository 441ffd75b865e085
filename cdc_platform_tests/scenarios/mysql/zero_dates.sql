-- A zero date is no date. A clear stop, not a null and not some other day.
-- table: people
create table people (id int primary key, born date, seen datetime, changed timestamp null);
insert into people values (1, '1815-12-10', '2026-01-01 12:00:00', '2026-01-01 12:00:00');
-- run
set session sql_mode = '';
insert into people values (2, '0000-00-00', '0000-00-00', '0000-00-00');
-- run
-- expect stop 4: people, column born at ...: the value is a zero or impossible date, which only text can hold (source.tables[].as_text)
-- expect nothing written
