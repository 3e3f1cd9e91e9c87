-- Keep statements that change no state. Answers how many were not here yet.
return keep(list('sid', 'kind', 'msg', 'wire', 'at'))
