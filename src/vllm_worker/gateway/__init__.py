"""Many endpoints behind one URL: LiteLLM's proxy, configured from one small file.

`proxy/` runs in LiteLLM's environment, and nothing else imports LiteLLM.
"""
