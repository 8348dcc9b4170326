"""Words by which delivery notices are recognised, in the languages that mail servers speak; data, not code."""

from __future__ import annotations

#: before an address: what it is called
LABEL = (
    r"""(?:^|[\s>*(|\"'])(?:(?:final|original|intended|failed|invalid|unknown|bad|undeliverable|the|your|"""
    r"local|smtp)[ -])*(?:recipients?|recipient address(?:es)?|address(?:es)?|(?:e-?)?mail address|"
    r"mailbox|user ?(?:id|name)?|account|forward-path|mail-?box(?:name)?|empf[aä]e?nger(?:adresse)?|"
    r"adressat|e-?mail-?adresse|adresse|postfach|destinataires?|adresse [ée]lectronique|bo[iî]te|"
    r"destinat[aá]ri[oa]s?|direcci[oó]n(?: de correo)?|buz[oó]n|usuario|endere[cç]o|indirizzo|casella|"
    r"ontvangers?|geadresseerde|odbiorca|adresat|adres|mottak(?:er|are)|modtager|vastaanottaja|címzett|"
    r"příjemce|adresát|alıcı|παραλήπτης|收件人|收信人|收件者|收件地址|邮箱|宛先|受信者|送信先|あて先|수신자|받는 사람|получател[ьюя]|"
    r"кому|адрес(?:ат)?|ящик)(?:\(s\)|s)?\s*[:=：]\s*"
)
#: fields and words before an address that is a sender, an id or a contact
SENDER = (
    r"(?:^|[\s>*(|])(?:(?:x-)?from|sender|reply-to|return-path|message-?id|x?-?references|in-reply-to|errors-to|"
    r"mail from|mailfrom|envelope-from|von|absender|de|exp[ée]diteur|remitente|mittente|da|afzender|nadawca|"
    r"отправитель|от кого|от|发件人|寄件者|差出人|送信者|cc|bcc|subject|x-[a-z-]+|id|contact)"
    r"\s*[:=：]\s*(?:[\w .'\"-]{0,60})?[<\"'(\s]*$|"
    r"\b(?:(?<!generated )(?<!expanded )(?<!rewritten )(?<!derived )from|sent by|message-?id)\s+(?:[\w .'\"-]{0,60})?<?$|"
    r"mailto:$|https?://\S*$|(?:contact|questions?|assistance|help|e-?mail us at|forward (?:this|it) to)\b.{0,60}$"
)
#: the label that every message has
TO = r"(?:to|an|à|a|para|aan|do|til|till|кому|до|收件人|宛先|받는 사람)"
#: in front of an address, in a sentence
FAILED_TO = (
    r"\b(?:deliver(?:ed|y|able|ing|ies)?(?: \w+){0,3} (?:to|for)|reach(?:ed|"
    r"ing)?(?: the)?(?: following)?(?: recipients?)?|(?:mail|message|e-?mail|sent|addressed|returned|"
    r"destined|posted)(?:,)? (?:to|for)|(?:was|were) addressed(?:,)? (?:to)?|(?:unknown|invalid|no such|"
    r"illegal|bad|inactive|disabled)(?: local)? (?:user|recipient|mailbox|address|account|"
    r"destination)(?: name| id)?(?: \w+)?|userid|mailbox|recipient|gateway for|size|(?:quota|full|error|"
    r"failure|problem|violation) .{0,20}for|(?:user|account|"
    r"address)(?: with (?:the )?(?:e-?mail )?address)?|addressed to|zugestellt an|an die adresse|an|"
    r"remis à|délivré à|delivre a|à l'adresse|a la dirección|a|para|all'indirizzo|consegnat\w+ a|"
    r"entregue a|aan|doręczona do|do|адрес[уа]?|получателю|для|пользователю)"
)
#: near an address: it did not arrive
FAILURE = (
    r"not (?:be |been )?(?:delivered|reach|accept|find|found|exist|available|listed|known|a (?:known|"
    r"valid)|active|local)|undeliver|non-?deliver|fail|bounce|reject|refus|return(?:ed)?\b|error|"
    r"unknown|invalid|unable|could(?:n.t| not)|can ?not|no such|does(?:n.t| not)|denied|disabled|"
    r"inactive|expired|exceed|full|quota|block|delay|deferred|postpone|abort|problem|\b[45]\d\d[ -]|"
    r"\b[45]\.\d{1,3}\.\d|unzustellbar|(?:nicht|konnte|kann) .{0,60}(?:zugestellt|zustell|zuliefer|"
    r"erreich|gefunden)|zustellung|unbekannt|existiert nicht|ung[uü]e?ltig|abgelehnt|fehler|"
    r"verz[oö]e?gert|(?:pas|non) (?:pu |pu etre |pu être |été |ete )?.{0,20}(?:remis|d[ée]livr|distribu|"
    r"achemin)|n'existe pas|inconnu|[ée]chec|introuvable|(?:no|n[aã]o) .{0,40}(?:entreg|existe|encontr|"
    r"v[aá]lid)|desconocid|desconhecid|rechazad|devuelt|devolvid|inexistente|(?:non|"
    r"impossibile) .{0,40}(?:consegn|recapit|recapitat|esist|trovat)|sconosciut|inesistente|mancat|"
    r"niet .{0,40}(?:bezorg|afgelever|bestaat)|onbekend|onbestelbaar|nie .{0,40}(?:dostarcz|dor[eę]cz|"
    r"istnieje|znalezion)|niedostarcz|niedor[eę]cz|nieznan|zwrot|не .{0,60}(?:доставлен|найден|"
    r"существует|может|удалось|удается)|недоставлен|неизвест|ошибк|отклон|отказ|переполн|无法|失败|退信|退回|"
    r"不存在|拒绝|未能|錯誤|無法|失敗|届け|配信できません|配達できません|送信できません|見つかりません|エラー|存在しません|반송|실패|없는|kan (?:inte|ikke)|"
    r"kunne ikke|kunde inte|ikke leveret|ulevert|nem .{0,30}(?:kézbes|létez)|nelze|nebyl|neexistuje|"
    r"teslim edileme|iletilemedi|δεν"
)
#: where the returned message starts
RETURNED = (
    r"^[ \t>*=_|-]*(?:-+ ?)?(?:(?:below this line|(?:this|following) is|here is|below is|included below|"
    r"attached) .{0,12}(?:a )?copy of|(?:begin |the )?(?:original|returned|unsent|old|source|"
    r"undelivered|bounced|failed) (?:e-?mail|message|mail)(?: (?:follows|header|text|as received|below|"
    r"attached|is|was:|returned|body|content)|[ \t]*[:\-=*>]|[ \t]*$)|(?:mail |message )?headers? (?:of|"
    r"follow|from)|included is a copy|message (?:header|body)s? follows?|original message headers|"
    r"start of (?:the )?(?:original|returned|message)|the (?:first|text|"
    r"header)s? .{0,40}original (?:message|mail)|text of the message follows|"
    r"your (?:original )?(?:message|e-?mail|mail) (?:follows|reads|header|is returned|was:)|"
    r"a copy of (?:the|your) (?:original )?(?:message|e-?mail)|urspr[uü]ngliche nachricht|"
    r"originalnachricht|kopie der nachricht|ihre nachricht:|der kopf der|message (?:d'origine|original|"
    r"originale|originel)|copie du message|voici (?:une copie|le message)|mensaje original|"
    r"mensagem original|copia del mensaje|messaggio originale|copia del messaggio|"
    r"oorspronkelijk bericht|oryginalna wiadomo|исходное сообщение|копия (?:письма|сообщения)|(?:以下|"
    r"下面).{0,12}(?:原|邮件)|原(?:始)?(?:邮件|郵件)|元のメッセージ|以下は.{0,20}(?:コピー|写し))|^[ \t>|]*received: (?:from|by|"
    r"\() ?|^[ \t>*=_|-]*-{3,}.{0,12}(?:此行|复制|原件|copy|copie|kopie|copia|копия).{0,60}$"
)
#: subjects and texts of delivery notices
SUBJECT = (
    r"undeliver|unable to deliver|deliver(?:y|ed|able)? (?:status|fail|report|problem|error|notif|"
    r"has failed|delay|warning|incomplete|unsuccess|could)|returned (?:mail|e-?mail|message|to sender)|"
    r"return(?:ed)? to sender|message returned|(?:could|can) ?not be delivered|mail (?:delivery|"
    r"system error|failure|could)|failure notice|failure (?:of|to) deliver|non[- ]?(?:delivery|remis|"
    r"distribu)|nondeliverable|failed|failure|bounce|not (?:delivered|listed|accepted)|delayed|"
    r"warning: |rejected|blocked|mail error|user (?:unknown|not)|unknown (?:user|recipient)|quota|"
    r"mailbox full|mail not sent|message (?:status|expired|undeliver)|mail (?:status|returned|rejected|"
    r"refused|bounced)|unzustellbar|nicht zugestellt|zustell(?:ung|fehler|bericht)|r[uü]ckl[aä]ufer|"
    r"fehler bei|non remis|[ée]chec|n'a pas pu|non distribu|retour (?:de|du|à)|retour[nñ][ée]|"
    r"no (?:se ha|se pudo|pudo|entregad)|n[aã]o (?:p[oô]de|foi|entreg)|error (?:de|en la|al) |devuelto|"
    r"devolvid|falha|fallo|rechazado|mancat|impossibile|notifica di|non consegn|messaggio non|errore|"
    r"onbestelbaar|niet (?:bezorgd|afgeleverd)|niedostarcz|niedor[eę]cz|zwrot|olevererbar|ulevert|"
    r"kunne ikke|недостав|не доставлен|невозможно доставить|ошибка доставки|возврат|не удалось|退信|退回|无法|"
    r"失败|系统退|投递|無法|失敗|遞送|配信|配達|返信不能|送信できません|エラー|届きません|未達|不達|반송|전송 실패|delivery has been|nedoručiteln|"
    r"nedoručen|kézbesíthetetlen|iletilemedi|teslim"
)
#: trying goes on
WAITING = (
    r"will (?:keep|continue|be)(?: to be)? (?:on )?(?:try|retr|attempt|made)|still being retried|"
    r"(?:do not|don't) need to resend|not yet been delivered|message is delayed|warning message only|"
    r"delivery attempts will continue|continue to try|has been (?:postponed|delayed|deferred)|"
    r"is (?:delayed|deferred)|(?:delayed|deferred) (?:delivery|mail)|delivery (?:is )?delayed|"
    r"will (?:try|retry) (?:again|for|until|to)|remains? (?:in|on) the (?:mail )?queue|"
    r"weiter(?:hin)? versuch|erneut versuch|verz[oö]e?gert|keine weitere aktion|retard[ée]|"
    r"diff[ée]r[ée]|nouvelle tentative|continuer[ao]|seguir[aá]|se reintentar|retrasad|atrasad|"
    r"nova tentativa|ritard|nuovo tentativo|nuovi tentativi|vertraagd|opnieuw|opóźni|отложен|задерж|"
    r"повторн|延迟|延遲|遅延|再送|再試行|지연"
)
