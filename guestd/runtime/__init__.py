"""The impure part: one epoll loop and one disk thread that carry out what the stack asks for."""
