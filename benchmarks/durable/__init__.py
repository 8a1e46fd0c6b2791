"""What durability costs, what it gives, and how soon a broker that has much to keep serves again."""
