select min(position)
from events
