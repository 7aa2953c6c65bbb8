"""What a team may see of its billing: reads only, put together once for pages and API."""
