"""The envelope vector that a desk opens before it starts (PROTOCOL 5.5, 17.3).

Written by tests/vectors/make_vectors.py; the same message stands in tests/vectors/envelope.json. Its content is
sealed anew from the content key when it is needed, and must then have the message id that stands here.
"""

DESK = "AU"
SERVICE = "poc24-demo"
NOW = 1800000005
CEK = "1d7d2a6ef076cbf70a958551201e7b057475bb929e6bd49caedfdda67bf2ce57"
SEED = "58a89d70c35ce1a31c8417320723c0712d4950e8560258df1bcb08db7222a103"
OFFICER_KEY = "c05990cbb8207d3722851dfa8d3f8013d6d910d2845d8e02595eb332365b1394"
DEVICE_KEY = "99558fca06c9ab3711c0c2c3935817ccae8c00457136b26fcc51464c36d3a5e2"
MSG = "90f48cf5aaa2e11b4cce1a2c8a4bc9d841ce633345d887b659ffb2a39f338e04"
HEADER = (
    '{"ack_by":1800003600,"backup":"","created":1800000000,"dev":"723e279ed77c55e3042'
    'faba2d1c583648baa5c3a370228e9c9cf70cc2fc62448","expires":1800086400,"from":"VN",'
    '"mode":"actual","priority":"urgent","to":"AU","v":1}'
)
STATEMENT = (
    '{"payload":"eyJhdHRhY2htZW50cyI6W10sImJvZHlfc2hhMjU2IjoiOTRjNWVkYjE2NjJhOTk2OGY5'
    "YzYxNTRiZWMxMWE2ZDI1MGFmZTU2OGVlMzlhOWFhYzhlYjFjNjJiYzc5ZDBhYiIsImJvZHlfdHlwZSI6"
    "ImFwcGxpY2F0aW9uL3ZuZC5wb2MyNC5wcmVzZXJ2YXRpb25fcmVxdWVzdC52MStqc29uIiwiY3JlYXRl"
    "ZCI6MTgwMDAwMDAwMCwiZnJvbSI6IlZOIiwiaGVhZGVyX3NoYTI1NiI6IjhiYTY3ZjBhMTFhZTA2YjFl"
    "YzI1OTVhYTI0YmM2YjNjYzFkMTVjODhiNDdiOTBlMmUyMTFmYzM2OWE0N2NmYmUiLCJraW5kIjoicmVx"
    "dWVzdCIsIm5vbmNlIjoiNTViYWIwZmExZDI1NmU2MTg2MWZjYTZlNTY2N2VkNjkiLCJzaWduZXIiOiIz"
    "MDQ3ZTQ2NjQ3ZTQ3OGQwYzRjN2Q0ZTlmZjYxNTFhYWRlMjc0YWQ0M2MyNzg5NDA5MmI3YWY1YTllNzI0"
    'NDMzIiwidGhyZWFkIjoiIiwidG8iOiJBVSIsInYiOjF9","payloadType":"application/vnd.poc'
    '24.statement.v1+json","signatures":[{"keyid":"3047e46647e478d0c4c7d4e9ff6151aade'
    '274ad43c27894092b7af5a9e724433","sig":"DRui-xwijrTGJWO6DmZdg5c0O_FtqnF1jIfsJ9P60'
    'JIh5DN8j1SDRqfaTUReNA3TIoLMDkYD1T6j5aYP6C9kDA"}]}'
)
BODY = '{"please":"keep the logs"}'
SUBMISSION = (
    '{"payload":"eyJibG9icyI6W10sImNyZWF0ZWQiOjE4MDAwMDAwMDAsImZyb20iOiJWTiIsImhlYWRl'
    "cl9zaGEyNTYiOiI4YmE2N2YwYTExYWUwNmIxZWMyNTk1YWEyNGJjNmIzY2MxZDE1Yzg4YjQ3YjkwZTJl"
    "MjExZmMzNjlhNDdjZmJlIiwibXNnIjoiOTBmNDhjZjVhYWEyZTExYjRjY2UxYTJjOGE0YmM5ZDg0MWNl"
    "NjMzMzQ1ZDg4N2I2NTlmZmIyYTM5ZjMzOGUwNCIsInJlbGF5IjoicG9jMjQtZGVtbyIsInJlcGxhY2Vz"
    "IjoiIiwic2lnbmVyIjoiNzIzZTI3OWVkNzdjNTVlMzA0MmZhYmEyZDFjNTgzNjQ4YmFhNWMzYTM3MDIy"
    'OGU5YzljZjcwY2MyZmM2MjQ0OCIsInNpemUiOjE5MDE5LCJ0byI6IkFVIiwidiI6MX0","payloadTyp'
    'e":"application/vnd.poc24.submission.v1+json","signatures":[{"keyid":"723e279ed7'
    '7c55e3042faba2d1c583648baa5c3a370228e9c9cf70cc2fc62448","sig":"hNBG57k9HZhesU_vA'
    '3u6PDKUL9AAL1leQFkZDzWjxMeLawvsdsk-IyzWwtjyCyxRNhUoNA7LQArxQF8vBKfEBA"}]}'
)
STANZAS = (
    "gFyg0KLXBfWpXBnTw66VGsH3qxLK_qt7RG6OiWeJvUi0TFbluqN8Ovt-yF7qTKcpZRn2myW38Ll4YBce"
    "1xBUOKHos_LOM8wmdIcKybZ-5PdqIUpLGPv2pkSyJsjck2EkKOOh87Q_WqFf-ypaBxdjdM02NELiEKjk"
    "vdTS2x2_ysHTJR-GjX1nQPjyW_vr05jB3w5O268w36druQ7xKf840AomA_QLDxfTlAlecaJCOAN3lHFq"
    "iPtCt3w10CxNtI9YW_KzJlegLRfjoBBlWNGxSio0Qo7ZGWSaML4HL6gy99oatEiLwC9GVhsnnydZ4L7S"
    "dDjgUOXsbyoeHtYv0T1F-XkkYLPE8qu42n_GQy8ZV76q_gej4UNUum49NsVZmsFoP4kMCUOmL_qTQicD"
    "Nzf4jq_uEeqiq_7aFYUBPFDRUTBf_ORSS0AtsudijHNNMU2n0e6nTGN60sM4bbnS-gGv03_dqJQXhDXK"
    "enT2jCCx44EQQW-aWN18pgOxj9WASfg3flhSKJwqEVdMrlXzT8G29XJqn6Uo_nqtTDLxBd3k7UXLn_B-"
    "wokW9dQX8aDf832KC_JFlEdSb1OT5epnZPFX6GO2XboBpSH9TEHKHDlXiMNrFz8cz4pgS7FurBDUN338"
    "_Yn1O2S5AOjAB3xJU81SFIRt5uRuWS14T2xY9FcUjOMmRXmOGb_DRJvv10g0LwtUxG--c3OMOYn4T-rh"
    "UfjpAJbjXjaRz_MW3mFJYUjw9lgfgN75rf1oFk6PYC8DdAKKKFqIq3-dZrkuldydRRpuLaYEo11IyKPb"
    "wivoWeV6xU7rajNh9ir0DWcfsyOggRx3hR2WE77xEo34Ue-U2QnqyxcYQDzKD4-2Mo9-denhpRkEpq-n"
    "cyF_i_zs1FcSiG85GWpqy_qCgHcQf3h4Mo_lBszWk0o1ilaHD_MVCRQ6g7QKcXdZZLOjsmy_CEteyPUW"
    "ObDUm6z3Q6zv64VWDIHAX5SPEaPYz9GPPy8YfvEVDJlFl2_UNGno22rtWT9dnOYAwXdYjMSxUYy7hp7e"
    "nHJXLRBfklENMzRVgUIpmhTlmFdJXMoTWHumFbHgtGhSEVnqnzhNgnLRgOeItbqeIJjaIkkgYgwGLZND"
    "PUBimvpcqQarTErCunp1gmcZd8HI2ZXuDyQC_tRxt0UwbEiWHpnlJrwiohbyFR83ky_LYFni_hFKsp6H"
    "rXsDUkj76r_NhRA-puBS9II9jjfm_LbHfXVtiUPGRngktr9CPXLM_2SFtJUJfnpRTwBmxLVMnjkriYDB"
    "j5ysQcvriuWDypts_SBPrx6HnuQ66wyejlyGfDI4D7W5BXFUrxsEdGLeKFtNw9bw0WC3WiGZbqXJRxuN"
    "ymJAlUU3O_5nS6RiuUmQ0MCl6Yl5QH9BH-wK-5jTpSuMUawfuDn1UsOFbjs4o9eZWx2A8NkAEueWZa5R"
    "aiNOEKiY7X_xavl01JdNRkGcbYWdVpN77OF6Px0c2CQ3LeRkB_Ag8z46DBfIg611y2dk36HvB9kl80x2"
    "TC5XXunxIXz2BY-_IKjRFz8dzHt0H5F5AggE-OjBVc2kAA6Qelq6xYVeP911Aay121r6AJmbHUvJhtIg"
    "fvDCzb8DWgjLfPiVUBcXTprAhjr0_MxSmthf8JPA0oYJF4ZtBSEeboRXtPsizPppZbTO-6tt6dal2uIs"
    "UPo_kCIqTqbMTyXwM_TI_3OFAN0Q3MJbzCgtv8qzZp7CKX4C570rgB988yFY48gQDU58NExaTI7MgyPs"
    "2MUfccRe3LSOdsJY7uUwU2AbZzsHxzXl85mCz6jduNnKW5VZTP-yI2jlo6ytEe7LhLjL_92vO2Emp7jc"
    "dvMMIn4C9DY1VhmSI8ClUG0Dk6NVc6UFVjk5TLCy46pmN3wXlb1v8t2pXcz88NNrCAKro2c2AzB3Lvmv"
    "1nVanMupn3CwJC4NXsUitOmAwdS55n2WWzw74nUu4V5RN5MwtDojTDN7gXx6SynPVK7GWVg4OmiFnSkD"
    "8CMBwax7vPKRiUeSOnePLlmUYmww_zkJ16DBc1DsTD1887z5GupE8TFRNGqhlFr6aunzukUVCsBMmtBe"
    "64RlJ5aYeh5D5YGxFzoO9WhQ2_VHZIKldXb4qzBljptUeph_BnKuJbwfzP6VgA7V1deRNXjiNgrYQv5g"
    "wRdQR9_znIvKOHgKlOUV_evX5goanXbjdcSN4qgWmNONP4bvTwyZX7Oux81qWWHZ2-BdnT1KXd0RWTYK"
    "GXpmuvlFlo2Ty0REyziiBBpmNmdP2V83qUB2bQzp_6uYAhZ7Dv0PWC0aa9fd_3oIjcTWlXajlQHZt34s"
    "1rnsIpcByPMGkBGRT7cnq5d3Cqds8jJTGT0TlqLCMw_O1mv6kyG_w3aXJUvU3iM4rrb4poXw5xm1Z2By"
    "g21nXTwrQab6beH5ES5JSjBnffTR1K9BnIxRKvbeDbCEHvLFqVo2lkHDMK3btsJngAwD0eSIuk5itkb3"
    "L3QlRALW8iICmwu3ZFU5zbZx2ASMNsoCXrMV640grtvWdmiFPdV3ogk_iBxNigHlo8L7ez32l6BBl4-l"
    "JDlPYkTKT6x9FaBNQ_qAziC-uYfy0BZuRYHXFUTAx9FCNnTKcbbYgBsEzecoJEPLtbvtRB7_jRShUHcV"
    "Hw6E39_RvyZ2_FnBFnLDGwyFFgqHx020k9DlvaW1rDL42J9QvWuOC8vXGha_L2aHD6iAC7j00FDBzJnr"
    "Tbvtfzv3-Po83VZHekNvusQqGkgEOux5aiz31MPp5JhX7dPiXG4h1a-q6BAoNnu4dXOcV13Gz071KBrq"
    "jNM80Oz9-ZaPf8hTm5nNI8xGvOyjnyClnoJmeL728sIaBJ3Q06QTbt9-Vd7zoDCWZ6qWPp-ZvJJ8C1GD"
    "leFtmg6qsKksmLC2owosBVEV51L1EtaT6bd-uNpB-C-n9O_tCwpbAXBajJIMCrU0eWTU7OmpsQuzTkjT"
    "iV_Y3QQDJE-gZ7jvrYJlIzqyDIShIwLpjsAqiUuaXS7sVMIPh4xpoT_InKe9cQ-d_R5IqWFQCiEODBDD"
    "4UuJkvHGAnST2QW5cb4y6IF4-MQ_9SdKHC7wq8_GjyiN36AFq7nq0KZCmxWfo-yDjQUp3bZK26I0KkYU"
    "seXvegkA8wxMtN-0"
)
