"""What every suite shares: starting a server of either kind, and speaking to it byte by byte."""
